"""Our own sentences in eleven languages, drawn from small grammars.

The words are chosen for the mouth: many m, b, p, rounded and open vowels, and a comma in most
sentences, at which the mouth closes. A sentence belongs to exactly one split, by its checksum.
"""

import dataclasses
import zlib

import numpy as np

SPLITS = ('train', 'validation', 'test')
# Of each hundred checksums the first 80 are for training, the next 8 for validation.
_FIRST_BUCKET = {'train': 0, 'validation': 80, 'test': 88}
_LAST_BUCKET = {'train': 80, 'validation': 88, 'test': 100}


@dataclasses.dataclass(frozen=True)
class Grammar:
  """Phrases that fit together in any combination, and the ways of joining them.

  A pattern's fields are who, does, where, opening; `who2` and `does2` differ from the first.
  """

  patterns: tuple[str, ...]
  opening: tuple[str, ...]
  who: tuple[str, ...]
  does: tuple[str, ...]
  where: tuple[str, ...]


def _lines(text):
  return tuple(line.strip() for line in text.strip().split('|'))


GRAMMARS = {
  'en': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, but {who2} {does2}. | While {who} {does}, {who2} {does2}.
      | {who} {does}, and {who2} {does2} {where}. | {opening}, I believe {who} {does}."""),
    opening=_lines("""Good morning | Maybe tomorrow | Oh boy | Well, my friend | By the way
      | Before lunch | On Monday | Look over here | You know what | In the summer | To be fair"""),
    who=_lines("""my mother | the baker | Bob | our old boss | a brown puppy | the boy from Rome
      | Papa Moose | the happy farmer | Amy | my best friend | the woman upstairs | Uncle Paul
      | the whole family | a famous painter | the new mayor"""),
    does=_lines("""bought a blue balloon | moved five wooden boxes | makes apple pie | saw a huge
      boat | found the missing map | paints a purple flower | opened the window | forgot his
      umbrella | wants more soup | plays the piano | cooked a pot of beans | met a movie star
      | put the book above the lamp | washed a muddy shoe | hopes for warm weather
      | told a funny story | fed the baby birds | wrote four poems"""),
    where=_lines("""at the market | by the open fire | in the blue room | above the village
      | under the apple tree | on the moon | near the old bridge | behind the museum
      | at half past four | on the way home | from memory | without a problem"""),
  ),
  'de': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, aber {who2} {does2}. | {who} {does}, und {who2} {does2} {where}."""),
    opening=_lines("""Guten Morgen | Ach übrigens | Meine Damen und Herren | Wie du weißt
      | Oh Mann | Ehrlich gesagt | Schau mal"""),
    who=_lines("""Meine Mama | der Bäcker | unser Freund Bruno | die alte Frau | Paul
      | das müde Mädchen | mein Opa | der Bürgermeister | Frau Baum | ein junger Maler"""),
    does=_lines("""kauft einen blauen Hut | malt schöne Bäume | bäckt frisches Brot
      | öffnet das Fenster | sucht die Brille | möchte mehr Suppe | spielt Posaune
      | trägt fünf Bücher | füttert die Vögel | kocht Pflaumenmus | baut ein Boot
      | fährt mit dem Bus"""),
    where=_lines("""im Dorf | am Ufer | vor dem Museum | auf dem Balkon | bei uns zu Hause
      | unter der Brücke | am Abend | im Sommer | hinter dem Bahnhof"""),
  ),
  'es': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, pero {who2} {does2}. | {who} {does}, y {who2} {does2} {where}."""),
    opening=_lines("""Buenos días | Por favor | Como sabes | Mira bien | La verdad | Por la mañana
      | Amigo mío"""),
    who=_lines("""mi mamá | el panadero | Pablo | nuestra abuela | un perro blanco
      | la mujer del pueblo | mi mejor amigo | el pintor famoso | Rosa | el niño"""),
    does=_lines("""compra un globo azul | pinta una paloma | prepara sopa de pollo
      | abre la ventana | busca el mapa | mueve cinco cajas | toca el piano | quiere más pan
      | come uvas | limpia un zapato | baila un bolero | vende manzanas"""),
    where=_lines("""en el mercado | junto al fuego | bajo el puente | en la plaza | por la noche
      | cerca del museo | en casa | sobre la mesa | en verano"""),
  ),
  'fr': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, mais {who2} {does2}. | {who} {does}, et {who2} {does2} {where}."""),
    opening=_lines("""Bonjour | Mon ami | À mon avis | Ce matin | Un beau jour | Bien sûr
      | Comme tu vois"""),
    who=_lines("""ma mère | le boulanger | Paul | notre voisin | un petit chien blanc | la femme
      du maire | mon meilleur ami | un peintre fameux | Émilie | le bébé"""),
    does=_lines("""achète un ballon bleu | mange une pomme | prépare la soupe | ouvre la fenêtre
      | cherche une plume | voudrait du beurre | joue du piano | porte cinq boîtes
      | peint des fleurs | boit un bon café | trouve une montre | rêve beaucoup"""),
    where=_lines("""au marché | sur la plage | sous le pont | devant le musée | chez nous
      | au bout de la rue | en hiver | dans le bois | près du feu"""),
  ),
  'it': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, ma {who2} {does2}. | {who} {does}, e {who2} {does2} {where}."""),
    opening=_lines("""Buongiorno | Amico mio | Come sai | Per favore | Un bel giorno
      | Secondo me | Guarda bene"""),
    who=_lines("""mia mamma | il fornaio | Paolo | la nostra nonna | un cane bianco | la bambina
      | il mio amico | un pittore famoso | Marta | il sindaco"""),
    does=_lines("""compra un pallone blu | mangia una mela | prepara la zuppa | apre la finestra
      | cerca la mappa | sposta cinque scatole | suona il piano | vuole più pane
      | dipinge un fiume | beve un buon vino | balla da sola | vende uova"""),
    where=_lines("""al mercato | vicino al fuoco | sotto il ponte | in piazza | davanti al museo
      | di sera | in campagna | sul tavolo | a casa nostra"""),
  ),
  'pt': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, mas {who2} {does2}. | {who} {does}, e {who2} {does2} {where}."""),
    opening=_lines("""Bom dia | Meu amigo | Por favor | Como sabes | Um belo dia | Na verdade
      | Olha bem"""),
    who=_lines("""minha mãe | o padeiro | Paulo | nossa avó | um cão branco | a mulher do prefeito
      | meu melhor amigo | um pintor famoso | Bruna | o menino"""),
    does=_lines("""compra um balão azul | come uma maçã | prepara a sopa | abre a porta
      | procura o mapa | move cinco caixas | toca piano | quer mais pão | pinta uma pomba
      | bebe um bom vinho | vende uvas | limpa um sapato"""),
    where=_lines("""no mercado | perto do fogo | sob a ponte | na praça | em casa | de manhã
      | ao pé do museu | no verão | sobre a mesa"""),
  ),
  'nl': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, maar {who2} {does2}. | {who} {does}, en {who2} {does2} {where}."""),
    opening=_lines("""Goedemorgen | Beste vriend | Zoals je weet | Kijk eens | Eerlijk gezegd
      | O ja | Trouwens"""),
    who=_lines("""mijn moeder | de bakker | Bob | onze buurvrouw | een bruine hond | de burgemeester
      | mijn beste vriend | het meisje | oom Paul | een oude boer"""),
    does=_lines("""koopt een blauwe ballon | bakt een appeltaart | maakt soep | opent het raam
      | zoekt een boek | verhuist vijf dozen | speelt piano | wil meer brood | tekent een boom
      | bouwt een boot | poetst een schoen | voert de vogels"""),
    where=_lines("""op de markt | bij het vuur | onder de brug | voor het museum | bij ons thuis
      | in het dorp | in de zomer | aan het water | op zondag"""),
  ),
  'pl': Grammar(
    patterns=_lines("""{who} {does} {where}. | {opening}, {who} {does}. | {opening}, {who} {does}
      {where}. | {who} {does}, ale {who2} {does2}. | {who} {does}, a {who2} {does2} {where}."""),
    opening=_lines("""Dzień dobry | Mój przyjacielu | Jak wiesz | Proszę bardzo | Pewnego dnia
      | Po obiedzie | No popatrz"""),
    who=_lines("""moja mama | piekarz | Paweł | nasza babcia | biały pies | kobieta z Poznania
      | mój kolega | stary malarz | Ewa | burmistrz"""),
    does=_lines("""kupuje niebieski balon | je jabłko | gotuje zupę | otwiera okno | szuka mapy
      | buduje dom | gra na pianinie | chce więcej chleba | maluje bociana | pije kawę
      | sprzedaje buty | karmi ptaki"""),
    where=_lines("""na rynku | przy ogniu | pod mostem | przed muzeum | w domu | o poranku
      | nad morzem | w lecie | na wsi"""),
  ),
  'hi': Grammar(
    patterns=_lines("""{who} {where} {does}। | {opening}, {who} {does}। | {opening}, {who} {where}
      {does}। | {who} {does}, लेकिन {who2} {does2}। | {who} {does}, और {who2} {where} {does2}।"""),
    opening=_lines("""नमस्ते | मेरे भाई | सुबह सुबह | सच बताऊँ | देखो भाई | आजकल"""),
    who=_lines("""मेरी माँ | छोटी बहन | बूढ़ी औरत | मीना | हमारी बुआ | पम्मी | एक लड़की | मेरी भाभी"""),
    does=_lines("""मीठा आम खाती है | नीला गुब्बारा लाती है | बाज़ार से फूल लाती है | पूरी बनाती है
      | भालू को देखती है | किताब पढ़ती है | पपीता काटती है | ऊँचा गाना गाती है | पानी पीती है
      | मोर का चित्र बनाती है"""),
    where=_lines("""घर में | बाज़ार में | पुल के पास | गाँव में | शाम को | पेड़ के नीचे | मेले में"""),
  ),
  'ja': Grammar(
    # In kana: espeak-ng reads no kanji.
    patterns=_lines("""{who}が {where} {does}。 | {opening}、{who}が {does}。
      | {opening}、{who}が {where} {does}。 | {who}が {does}が、{who2}も {does2}。
      | {who}も {does}、そして {who2}が {does2}。"""),
    opening=_lines("""おはよう | もしもし | まあまあ | あのね | きょうも | ほんとうに"""),
    who=_lines("""まま | ぱぱ | ぼくの ともだち | おばあさん | しろい うま | まちの ひと
      | いもうと | ももこ"""),
    does=_lines("""あおい ぼうしを かいます | まるい ぱんを たべます | ぶどうを もらいます
      | まどを あけます | おもい ほんを よみます | ばんぱくを みます | むぎちゃを のみます
      | ぴあのを ひきます | うみを みます | ばらを うえます"""),
    where=_lines("""まちで | うみべで | ぼくの うちで | もりの なかで | はしの うえで | ゆうべ
      | えきまえで"""),
  ),
  'cmn': Grammar(
    patterns=_lines("""{who}{where}{does}。 | {opening},{who}{does}。
      | {opening},{who}{where}{does}。 | {who}{does},但是{who2}{does2}。
      | {who}{does},然后{who2}{where}{does2}。"""),
    opening=_lines("""早上好 | 我的朋友 | 说实话 | 你看 | 不好意思 | 明天下午"""),
    who=_lines("""我妈妈 | 爸爸 | 老朋友 | 那个面包师 | 我的妹妹 | 小明 | 白马的主人 | 邻居婆婆"""),
    does=_lines("""买了五个苹果 | 吃了一碗面 | 打开了窗户 | 看见一只小猫 | 画了很多花 | 喝了一杯热茶
      | 跑步跑得很慢 | 包了很多饺子 | 摸了摸那本书 | 唱了一首老歌"""),
    where=_lines("""在家里 | 在市场 | 在桥上 | 在公园门口 | 在我们村里 | 在博物馆 | 在海边"""),
  ),
}  # fmt: skip


def draw(language: str, split: str, random: np.random.Generator) -> str:
  """A random sentence of the language which belongs to the split."""
  grammar = GRAMMARS[language]
  while True:
    who, who2 = random.choice(len(grammar.who), 2, replace=False)
    does, does2 = random.choice(len(grammar.does), 2, replace=False)
    pattern = ' '.join(grammar.patterns[random.integers(len(grammar.patterns))].split())
    sentence = pattern.format(
      opening=' '.join(random.choice(grammar.opening).split()),
      where=' '.join(random.choice(grammar.where).split()),
      who=' '.join(grammar.who[who].split()), who2=' '.join(grammar.who[who2].split()),
      does=' '.join(grammar.does[does].split()), does2=' '.join(grammar.does[does2].split()),
    )  # fmt: skip
    sentence = sentence[0].upper() + sentence[1:]
    if split_of(sentence) == split:
      return sentence


def split_of(sentence: str) -> str:
  """The one split a sentence may be used in."""
  bucket = zlib.crc32(sentence.encode()) % 100
  return next(s for s in SPLITS if _FIRST_BUCKET[s] <= bucket < _LAST_BUCKET[s])
